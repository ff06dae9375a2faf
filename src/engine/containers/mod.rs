//! The life of a container, from its record to its removal.
