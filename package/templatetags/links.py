from django import template

from package.safe_links import link

register = template.Library()
register.filter(link)
