"""The network code below requests and urllib3: DNS, checks of addresses, sockets, TLS, bodies, errors."""
