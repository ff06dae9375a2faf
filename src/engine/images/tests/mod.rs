//! Tests of the whole: against a real registry, a scripted one, hostile archives and sudden deaths.
