from django import template

from package.web_addresses import link

register = template.Library()
register.filter(link)
