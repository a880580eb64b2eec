"""What touches the network for requests and urllib3: names, addresses, sockets, TLS, bodies, errors."""
