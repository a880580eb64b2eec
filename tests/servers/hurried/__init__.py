"""The site as it is everywhere, but that all its long times are short: leases, limits, pauses.

It is an application of Django's, so that the commands of the site run as they are: only DJANGO_SETTINGS_MODULE differs.
"""
