//! A distributor that answers as the test scripts it.
