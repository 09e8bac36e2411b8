//! TestCluster and the tools of the test rings.
