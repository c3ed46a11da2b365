//! The neural networks, on libtorch. The only place that names `tch`; plain numbers cross its border.

mod adam;
pub mod ddpg;
mod network;
mod storage;

use std::sync::Once;

/// Keeps libtorch on the calling thread: for networks this small its thread pool costs more than it brings, and one
/// thread computes the same bits every time.
fn use_one_thread() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tch::set_num_threads(1));
}
