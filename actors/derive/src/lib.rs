//! The derive macro of `mcpbus-actors`.
