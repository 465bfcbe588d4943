//! The stubs of Usher, the authorization sidecar. `make proto` writes everything under `gen`.

/// The contract `usher.v1`.
pub mod v1 {
    include!("gen/usher/v1/usher.v1.rs");
}
