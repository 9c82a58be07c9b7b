//! A panic costs the connection on which it happened, and is counted: it takes neither the process nor others along.

use std::sync::Arc;

use crate::metrics::Metrics;

/// Counts a panic that unwinds through it.
struct Guard(Arc<Metrics>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.inc();
        }
    }
}

/// Runs a connection's work. The runtime ends its task alone where it panics, and its request counts itself as
/// `internal_error` as it goes.
pub(super) async fn counted<T>(metrics: Arc<Metrics>, work: impl Future<Output = T>) -> T {
    let _guard = Guard(metrics);
    work.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_own_task_and_is_counted() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let works = tokio::spawn(counted(Arc::clone(&metrics), async { 7 }));
        let panics = tokio::spawn(counted(Arc::clone(&metrics), async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        }));
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(works.await.unwrap(), 7);
        assert_eq!(metrics.panics.get(), 1);
    }
}
