"""The network code for requests and urllib3: DNS, addresses, sockets, TLS, bodies, errors."""
