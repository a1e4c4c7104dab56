//! Events as rows of `anomaly`: one row each, inserted when it opens and changed as it goes on.
//!
//! An event's identity is its row's, so storing it again changes nothing. Severity only rises, and
//! what people have acknowledged stays. An event that the server refuses for what it is takes
//! nothing along: it is left out, and counted.

use std::time::{Duration, SystemTime};

use tokio_postgres::{Client, Error, Statement, Transaction, error::DbError};

use super::tables_of;
use crate::detect::Event;

/// Stores events as they are now; returns how many of them the server refuses.
pub(super) async fn store(
    transaction: &mut Transaction<'_>,
    statement: &Statement,
    station: &str,
    events: &[&Event],
) -> Result<u64, Error> {
    let Err(error) = attempt(transaction, statement, station, events).await? else { return Ok(0) };
    let mut refused = 0;
    let is_hopeless = error.code().code().starts_with(WRONG_STATEMENT);
    if is_hopeless || events.len() == 1 {
        refused = events.len() as u64;
    } else {
        for event in events {
            let stored = attempt(transaction, statement, station, &[event]).await?;
            refused += u64::from(stored.is_err());
        }
    }
    if refused > 0 {
        let (message, code) = (error.message(), error.code().code());
        tracing::error!("{refused} anomalies are not stored: {message} (SQLSTATE {code})");
    }
    Ok(refused)
}

/// Stores all or none of them; within, why the server does not want them. Any other error is one of
/// the whole transaction.
async fn attempt(
    transaction: &mut Transaction<'_>,
    statement: &Statement,
    station: &str,
    events: &[&Event],
) -> Result<Result<(), DbError>, Error> {
    let savepoint = transaction.transaction().await?;
    match upsert(&savepoint, statement, station, events).await {
        Ok(()) => savepoint.commit().await.map(Ok),
        Err(error) => {
            let refusal = error.as_db_error().filter(|error| {
                REFUSALS.iter().any(|class| error.code().code().starts_with(class))
            });
            let Some(refusal) = refusal.cloned() else { return Err(error) };
            savepoint.rollback().await?;
            Ok(Err(refusal))
        }
    }
}

async fn upsert(
    transaction: &Transaction<'_>,
    statement: &Statement,
    station: &str,
    events: &[&Event],
) -> Result<(), Error> {
    fn column<T>(events: &[&Event], value: impl Fn(&Event) -> T) -> Vec<T> {
        events.iter().map(|event| value(event)).collect()
    }
    let closed = |event: &Event| event.closed.map(|(at_us, _)| time(at_us));
    let reason = |event: &Event| event.closed.map(|(_, reason)| reason.to_string());
    transaction
        .execute(
            statement,
            &[
                &station,
                &column(events, |event| event.id),
                &column(events, |event| event.spacecraft.to_string()),
                &column(events, |event| event.channel()),
                &column(events, |event| event.detector.to_string()),
                &column(events, |event| event.severity.to_string()),
                &column(events, |event| time(event.opened_us)),
                &column(events, |event| time(event.last_us)),
                &column(events, closed),
                &column(events, |event| time(event.detected_us)),
                &column(events, |event| event.score),
                &column(events, |event| event.threshold),
                &column(events, |event| event.expected),
                &column(events, |event| event.observed),
                &column(events, |event| event.peak),
                &column(events, |event| i64::from(event.samples)),
                &column(events, reason),
                &column(events, |event| event.incident),
                &column(events, |event| event.packet()),
            ],
        )
        .await?;
    Ok(())
}

/// Closes what an earlier run of this station has left open, but for the events in `known`; returns
/// how many those were.
pub(super) async fn close_unknown(
    client: &Client,
    station: &str,
    known: &[i64],
) -> Result<u64, super::Error> {
    let close = tables_of(client).await?.qualify(CLOSE);
    Ok(client.execute(&close, &[&station, &known]).await?)
}

/// A moment in µs since 1970.
fn time(us: i64) -> SystemTime {
    let distance = Duration::from_micros(us.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let moment = if us < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    moment.unwrap_or(epoch)
}

pub(super) const UPSERT: &str = "
    INSERT INTO {schema}.anomaly AS known (station, id, satellite_id, channel, detector, severity, opened_at,
        last_at, closed_at, detected_at, score, threshold, expected, observed, peak_observed,
        samples, close_reason, incident, packet)
    SELECT $1, *
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
        $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::real[], $12::real[],
        $13::real[], $14::real[], $15::real[], $16::bigint[], $17::text[], $18::bigint[],
        $19::text[])
    ON CONFLICT (id) DO UPDATE
    SET severity = CASE
            WHEN array_position(ARRAY['watch', 'warning', 'critical'], excluded.severity)
                > array_position(ARRAY['watch', 'warning', 'critical'], known.severity)
            THEN excluded.severity
            ELSE known.severity
        END,
        last_at = excluded.last_at,
        closed_at = excluded.closed_at,
        score = excluded.score,
        threshold = excluded.threshold,
        peak_observed = excluded.peak_observed,
        samples = excluded.samples,
        close_reason = excluded.close_reason";

/// When it was over is not known, only how long it was seen.
const CLOSE: &str = "
    UPDATE {schema}.anomaly
    SET closed_at = last_at, close_reason = 'restart'
    WHERE station = $1 AND closed_at IS NULL AND id <> ALL ($2)";

/// Classes of SQLSTATE that are about what is stored: another attempt ends the same way.
const REFUSALS: [&str; 3] = ["22", "23", WRONG_STATEMENT];
/// Tables or rights are not what they should be.
const WRONG_STATEMENT: &str = "42";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let since = |us| time(us).duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(since(1_500_000).unwrap(), Duration::from_millis(1_500));
        assert_eq!(since(-7).unwrap_err().duration(), Duration::from_micros(7));
        let _no_panic = (time(i64::MIN), time(i64::MAX));
    }
}
