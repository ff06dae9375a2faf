//! The program: chooses its role before anything else exists.

fn main() {}
