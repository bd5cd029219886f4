//! A herald on a machine without access to the database.
