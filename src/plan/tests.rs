//! The laws of planning, and plans as people see them.
