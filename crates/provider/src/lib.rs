//! Makes, parks, promotes and stops instances; the process provider.
