//! A thread that computes: training and inference never run on the async reactor, where they would hold up the
//! renewal of the leader's lease.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use futures::channel::oneshot;
use thiserror::Error;

type Job = Box<dyn FnOnce() + Send>;

/// A computation that gave no result.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the computation on thread {thread:?} ended without a result: its panic message is in the log")]
pub struct WorkerGone {
    /// Name of the thread.
    pub thread: String,
}

/// A named thread that runs closures one after another. Clones share the thread; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Worker {
    name: String,
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no further thread.
    pub fn spawn(name: &str) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new().name(name.into()).spawn(move || {
            for job in queue {
                job();
            }
        })?;
        Ok(Self { name: name.into(), jobs })
    }

    /// Queues a closure at once; the future gives its result. A closure that panics is an error of its own future
    /// only: the thread lives on. Dropping the future does not stop the closure.
    pub fn run<T, F>(&self, compute: F) -> impl Future<Output = Result<T, WorkerGone>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let gone = WorkerGone { thread: self.name.clone() };
        let job = move || {
            // On a panic the answer is dropped, which the future sees. Whoever no longer waits needs no answer.
            if let Ok(value) = catch_unwind(AssertUnwindSafe(compute)) {
                let _ = answer.send(value);
            }
        };
        // A refused job is dropped with its answer: the future sees that too.
        let _ = self.jobs.send(Box::new(job));
        async move { result.await.map_err(|_| gone) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::executor::block_on;
    use futures::future::join_all;

    use super::*;

    #[test]
    fn closures_run_one_after_another_on_the_named_thread() {
        let worker = Worker::spawn("learner").unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let runs = (0..20).map(|number| {
            let order = order.clone();
            worker.clone().run(move || {
                order.lock().unwrap().push(number);
                thread::current().name().map(str::to_owned)
            })
        });
        let names = block_on(join_all(runs.collect::<Vec<_>>()));
        assert!(names.iter().all(|name| name == &Ok(Some("learner".to_owned()))), "{names:?}");
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_lives_on() {
        let worker = Worker::spawn("learner").unwrap();
        let failed = block_on(worker.run(|| -> i32 { panic!("expected by the test") }));
        assert_eq!(failed, Err(WorkerGone { thread: "learner".into() }));
        assert_eq!(block_on(worker.run(|| 1 + 1)), Ok(2));
    }
}
