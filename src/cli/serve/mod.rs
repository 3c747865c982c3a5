//! `blemish serve`: photos come over HTTP.

mod args;
mod guard;
mod history;
mod infer;
mod metrics;
mod models;
mod queue;
mod routes;
mod service;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use blemish::Error;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

pub use self::args::Args;
use self::history::History;
use self::metrics::Metrics;
use self::models::Models;
use self::queue::Queue;
use self::routes::router;
use self::service::Service;
use crate::cli::terminal::{NO_THREAD, is_stopped, note_stop};

/// How often a stop and replaced profiles are looked for.
const STOP_EVERY: Duration = Duration::from_millis(50);
const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// More connections wait until others are closed.
const MOST_CONNECTIONS: usize = 1024;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (limits, choice) = (args.limits()?, args.choice()?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|_| anyhow::anyhow!(NO_THREAD))?;
    let (host, port) = args.address();
    // A port that is taken is said before the models are opened.
    let listener = runtime.block_on(TcpListener::bind((host, port))).map_err(|error| {
        Error::setting(format!("port {port}"), format!("cannot listen on {host}: {error}"))
    })?;
    let address = listener.local_addr()?;
    let quiet = choice.model.quiet;
    let models = Models::open(choice)?;
    let (history, metrics) = (Arc::new(History::new(limits.history)), Arc::new(Metrics::new()));
    let queue = Queue::start(limits.queue, limits.pixels, history.clone(), metrics.clone());
    let queue = queue.map_err(|_| anyhow::anyhow!(NO_THREAD))?;
    let service = Arc::new(Service { models, queue, history, metrics, limits });
    note_stop();
    let names: Vec<String> = service.models.all().iter().map(|model| model.name.clone()).collect();
    say!("serves {} on http://{address} (stop with Ctrl-C)", names.join(", "));
    runtime.block_on(serve(listener, service));
    if !quiet {
        say!("stopped: all photos that were accepted are answered");
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, service: Arc<Service>) {
    let refresh = tokio::spawn(refresh(service.clone()));
    let timeout = service.limits.timeout;
    let router = router(service);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(timeout);
    let (graceful, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    loop {
        let accept = async {
            let place = room.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
            () = stop() => break,
        };
        let Ok((stream, _)) = accepted else {
            // The system has no more files for connections; some will be closed soon.
            tokio::time::sleep(STOP_EVERY).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(timeout));
        let stream = TokioIo::new(Box::pin(stream));
        let answers = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(stream, answers));
        tokio::spawn(async move {
            // The client's faults and its leaving are its own.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    refresh.abort();
    // Clients that do not read their answers are not waited for.
    let _ = tokio::time::timeout(timeout + Duration::from_secs(1), graceful.shutdown()).await;
}

async fn stop() {
    while !is_stopped() {
        tokio::time::sleep(STOP_EVERY).await;
    }
}

async fn refresh(service: Arc<Service>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        let service = service.clone();
        let _ = tokio::task::spawn_blocking(move || service.models.refresh()).await;
    }
}
