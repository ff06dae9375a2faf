//! The OCI runtime: from a specification to a process in its namespaces. Synchronous and single-threaded.
