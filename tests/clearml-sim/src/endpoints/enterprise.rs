//! Endpoints that only the Enterprise server has.
//!
//! Its published reference does not say from which version of the API each is there: here every version has them.

use super::Endpoint;

pub(super) const ENDPOINTS: &[Endpoint] = &[];
