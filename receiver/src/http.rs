//! The HTTP door and the figures: `POST /telemetry`, `GET /healthz`, `/readyz`, `/stats`,
//! `/metrics`. It holds no database handle: samples go into the queues, and whether the database is
//! there is told to it.

mod connections;
mod encoding;
mod json;
mod metrics;
mod process;
pub mod sample;
pub mod token;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use tokio::sync::Semaphore;

use crate::{
    batch::TimeWindow, chunk::Chunk, ledger::Counters, queue::Outlets, readiness::Readiness,
    shutdown::Drain, socket::now_us, spacecraft::SpacecraftSet, sparse::Sparse,
};
use encoding::Undecodable;
use sample::{Fault, Rules};
use token::Token;

/// What the handlers need.
pub struct Door {
    /// Where samples go; nowhere any more once the station ends.
    pub outlets: RwLock<Option<Outlets>>,
    /// Where counts come from.
    pub counters: Arc<Counters>,
    /// Spacecraft that are accepted.
    pub spacecraft: SpacecraftSet,
    /// Times that are accepted.
    pub window: TimeWindow,
    /// Whether the database is usable.
    pub readiness: Arc<Readiness>,
    /// What requests must carry, if anything.
    pub token: Option<Token>,
}

/// Serves until the station is stopped.
pub async fn serve(listener: tokio::net::TcpListener, door: Door, drain: Drain) {
    let door = Arc::new(door);
    let counters = Arc::clone(&door.counters);
    connections::serve(listener, router(Arc::clone(&door)), counters, drain).await;
    // A request that is still being read finds the door closed, and cannot keep the writers waiting
    // for it.
    *door.outlets.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// The routes.
fn router(door: Arc<Door>) -> Router {
    let for_everybody =
        Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready));
    let asks = middleware::from_fn_with_state(Arc::clone(&door), ask_for_token);
    Router::new()
        .route("/telemetry", post(telemetry).layer(middleware::from_fn(few_at_a_time)))
        .route(
            "/stats",
            get(|State(door): State<Arc<Door>>| async move { Json(door.counters.ledger()) }),
        )
        .route(
            "/metrics",
            get(|State(door): State<Arc<Door>>| async move {
                let text = metrics::encode(&door.counters, &door.readiness);
                ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
            }),
        )
        .route_layer(asks)
        .merge(for_everybody)
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .with_state(door)
}

/// Lets requests with the token pass, if the station has one; looks at nothing else of others.
async fn ask_for_token(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let checked = door.token.as_ref().map_or(Ok(()), |token| token.check(request.headers()));
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let (status, challenge, message) = refused.answer();
            (status, [(header::WWW_AUTHENTICATE, challenge)], fault_body(message)).into_response()
        }
    }
}

async fn telemetry(State(door): State<Arc<Door>>, headers: HeaderMap, body: Bytes) -> Response {
    let received_us = now_us();
    let body = match encoding::decode(&headers, &body, BODY_OCTETS_MAX) {
        Ok(body) => body,
        Err(wrong) => return undecodable(&wrong),
    };
    let rules = Rules { spacecraft: &door.spacecraft, window: &door.window };
    let samples = match sample::read(&body, received_us, &rules) {
        Ok(samples) => samples,
        Err(fault) => return refuse(&fault),
    };
    let count = samples.len() as u64;
    if let Err(wrong) = enqueue(&door, &samples, received_us) {
        let retry = [(header::RETRY_AFTER, RETRY_AFTER_S)];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, fault_body(wrong)).into_response();
    }
    tracing::info!(samples = count, "Data received");
    Json(serde_json::json!({ "accepted": count })).into_response()
}

/// Bounds the memory of bodies: so many are read at a time, and none for longer than [`BODY_TIME`].
async fn few_at_a_time(request: Request, next: Next) -> Response {
    static BODIES: Semaphore = Semaphore::const_new(BODIES_MAX);
    let Ok(_permit) = BODIES.try_acquire() else {
        let retry = [(header::RETRY_AFTER, RETRY_AFTER_S)];
        let message = fault_body("too many requests at a time");
        return (StatusCode::SERVICE_UNAVAILABLE, retry, message).into_response();
    };
    tokio::time::timeout(BODY_TIME, next.run(request)).await.unwrap_or_else(|_| {
        (StatusCode::REQUEST_TIMEOUT, fault_body("the body did not come in time")).into_response()
    })
}

/// The first line says whether samples can be stored, or why not; then come warnings.
async fn ready(State(door): State<Arc<Door>>) -> Response {
    let (status, first) = match door.readiness.wrong() {
        None => (StatusCode::OK, "ready".to_owned()),
        Some(wrong) => (StatusCode::SERVICE_UNAVAILABLE, wrong),
    };
    let warnings = door.readiness.warnings().into_iter();
    let warnings = warnings.map(|warning| format!("warning: {warning}\n"));
    (status, format!("{first}\n{}", warnings.collect::<String>())).into_response()
}

/// Puts all samples into the queues, or none: room for every one is taken before anything is sent.
fn enqueue(door: &Door, samples: &[Sparse], received_us: i64) -> Result<(), &'static str> {
    let outlets = door.outlets.read().unwrap_or_else(PoisonError::into_inner);
    let outlets = outlets.as_ref().ok_or("the station is stopping")?;
    let mut filled: Vec<Vec<Chunk>> = (0..outlets.writers()).map(|_| Vec::new()).collect();
    let mut has_room = true;
    for sample in samples {
        let writer = outlets.writer_of(sample.spacecraft);
        let chunks = &mut filled[writer];
        if chunks.last_mut().is_some_and(|chunk| chunk.push_sparse(sample, received_us)) {
            continue;
        }
        let Some(mut chunk) = outlets.take_spare(writer) else {
            has_room = false;
            break;
        };
        has_room = chunk.push_sparse(sample, received_us);
        chunks.push(chunk);
        if !has_room {
            break;
        }
    }
    let mut outcome = if has_room { Ok(()) } else { Err("the queue is full: storing is too slow") };
    for (writer, chunks) in filled.into_iter().enumerate() {
        for chunk in chunks {
            let samples = chunk.samples();
            if !has_room {
                outlets.give_back(writer, chunk);
            } else if outlets.send(writer, chunk).is_ok() {
                door.counters.add_json(samples);
            } else {
                outcome = Err("the station is stopping");
            }
        }
    }
    outcome
}

fn refuse(fault: &Fault) -> Response {
    let status = match fault {
        Fault::NotJson(_) => StatusCode::BAD_REQUEST,
        Fault::Field { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, fault_body(&fault.to_string())).into_response()
}

fn undecodable(wrong: &Undecodable) -> Response {
    let body = fault_body(&wrong.to_string());
    match wrong {
        Undecodable::Unsupported(_) => {
            let accepted = [(header::ACCEPT_ENCODING, encoding::ACCEPTED)];
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, accepted, body).into_response()
        }
        Undecodable::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, body).into_response(),
        Undecodable::Damaged(_) => (StatusCode::BAD_REQUEST, body).into_response(),
    }
}

fn fault_body(message: &str) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "error": message }))
}

const BODY_OCTETS_MAX: usize = 1 << 20;
/// Bodies that are read at a time: 64 MiB at most, and as much again where they are compressed.
const BODIES_MAX: usize = 64;
const BODY_TIME: Duration = Duration::from_secs(10);
const RETRY_AFTER_S: &str = "1";
