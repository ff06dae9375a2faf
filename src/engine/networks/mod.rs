//! Bridges, addresses, the packet filter and DNS.
