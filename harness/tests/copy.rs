//! The hand-written binary COPY against the driver's own: the same samples through both leave the
//! same rows.

mod support;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use protocol::channel::{Column, ColumnSink};
use protocol::{
    Body, CdsTime, Datagram, FRAME_OCTETS_MAX, Frame, KINDS, Kind, Packet, Sequence, SpacecraftId,
    Stamp, Telemetry, emit,
};
use receiver::chunk::{Chunk, Record, Sample};
use receiver::copy::{CopyBuffer, telemetry_columns, telemetry_copy};
use receiver::sparse::Sparse;
use support::{Tables, cluster, database};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

const STATION: &str = "GS-Ümläut";
const SAMPLES: u32 = 2_000;

#[test]
fn the_same_rows_as_the_drivers_own_writer() -> Result<()> {
    let name = database(Tables::Plain)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for kind in KINDS {
        let twin = format!("{}_twin", kind.table);
        cluster().sql(&name, &format!("CREATE TABLE {twin} (LIKE {})", kind.table))?;
        runtime.block_on(store_both_ways(&cluster().url(&name), kind, &twin))?;
        let difference = format!(
            "SELECT (SELECT count(*) FROM {0}), (SELECT count(*) FROM {twin}),
                    (SELECT count(*) FROM (TABLE {0} EXCEPT ALL TABLE {twin}) a)",
            kind.table
        );
        assert_eq!(cluster().sql(&name, &difference)?, format!("{SAMPLES}|{SAMPLES}|0"));
    }
    Ok(())
}

#[test]
fn postgresql_prints_the_decimals_that_were_sent() -> Result<()> {
    let name = database(Tables::Plain)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kind = &protocol::health::KIND;
    let chunks = chunks(kind);
    runtime.block_on(async {
        let url = cluster().url(&name);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        copy_rows(&client, kind, &chunks).await
    })?;
    let mut sent: Vec<String> = Vec::new();
    for record in chunks.iter().flat_map(Chunk::records) {
        if let Sample::Frame(frame) = &record.sample
            && let Body::Health(health) = frame.body()
        {
            let raw = (health.latitude(), health.longitude(), health.altitude());
            sent.push(format!("{}|{}|{}|{}", frame.sequence().value(), raw.0, raw.1, raw.2));
        }
    }
    assert!(sent.len() > 1_000);
    // What is printed, moved by as many digits as the scale has, is the integer that was sent.
    let printed = "SELECT sequence, trim_scale(latitude::text::numeric * 10000000),
                          trim_scale(longitude::text::numeric * 10000000),
                          trim_scale(altitude::text::numeric * 1000)
                   FROM telemetry WHERE sequence IS NOT NULL";
    let printed = cluster().sql(&name, printed)?;
    let mut printed: Vec<_> = printed.lines().collect();
    printed.sort_unstable();
    sent.sort_unstable();
    assert_eq!(printed, sent);
    let read_again = "SELECT bool_and(latitude = latitude::text::float8
                                      AND altitude = altitude::text::float8) FROM telemetry";
    assert_eq!(cluster().sql(&name, read_again)?, "t");
    Ok(())
}

/// Stores all with the hand-written COPY.
async fn copy_rows(client: &tokio_postgres::Client, kind: &Kind, chunks: &[Chunk]) -> Result<()> {
    let mut rows = CopyBuffer::new();
    chunks.iter().flat_map(Chunk::records).for_each(|record| rows.push(&record, STATION));
    let sink = client.copy_in(&telemetry_copy(kind, "public")).await?;
    tokio::pin!(sink);
    let stream: Vec<_> = rows.by_satellite().pieces().collect();
    let stream = [&*stream.concat(), &[0xFF, 0xFF]].concat();
    futures_util::SinkExt::send(&mut sink, Bytes::from(stream)).await?;
    assert_eq!(sink.finish().await?, u64::from(SAMPLES));
    Ok(())
}

async fn store_both_ways(url: &str, kind: &Kind, twin: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let chunks = chunks(kind);
    copy_rows(&client, kind, &chunks).await?;

    let columns = telemetry_columns(kind).join(", ");
    let sink = client.copy_in(&format!("COPY {twin} ({columns}) FROM STDIN BINARY")).await?;
    let writer = BinaryCopyInWriter::new(sink, &types(kind));
    tokio::pin!(writer);
    for record in chunks.iter().flat_map(Chunk::records) {
        let row = row(&record);
        let row: Vec<_> = row.iter().map(|value| value.as_ref() as &(dyn ToSql + Sync)).collect();
        writer.as_mut().write(&row).await?;
    }
    assert_eq!(writer.finish().await?, u64::from(SAMPLES));
    Ok(())
}

/// Frames with random contents, every third replaced by a sparse sample.
fn chunks(kind: &Kind) -> Vec<Chunk> {
    let mut chunks = vec![Chunk::new()];
    for number in 0..SAMPLES {
        let mut out = [0; FRAME_OCTETS_MAX];
        let octets = random_frame(kind, number, &mut out);
        let Some(Ok(Frame::Telemetry(frame))) = Datagram::new(octets).next(|_| true) else {
            panic!("refused");
        };
        let received_us = 1_767_225_600_000_000 + i64::from(rand::random::<u32>());
        let mut sparse = Sparse::new(kind, frame.spacecraft(), received_us - 1);
        for place in 0..kind.columns().count() {
            if rand::random() {
                sparse.set(place, f64::from(rand::random_range(0..=1_u8)));
            }
        }
        let push = |chunk: &mut Chunk| match number % 3 {
            0 => chunk.push_sparse(&sparse, received_us),
            _ => chunk.push_frame(&frame, received_us),
        };
        if !chunks.last_mut().is_some_and(push) {
            let mut chunk = Chunk::new();
            assert!(push(&mut chunk));
            chunks.push(chunk);
        }
    }
    chunks
}

/// A frame of this kind whose user data is random.
fn random_frame<'a>(kind: &Kind, number: u32, out: &'a mut [u8; FRAME_OCTETS_MAX]) -> &'a [u8] {
    let stamp = Stamp {
        spacecraft: SpacecraftId::new(number as u16 % 300 + 1).expect("not 0"),
        boot_count: rand::random(),
        sequence: Sequence::new(rand::random()),
        time: CdsTime {
            day: 24_837,
            ms: rand::random_range(0..86_400_000),
            us: rand::random_range(0..1_000),
        },
    };
    let packet = KINDS
        .iter()
        .position(|k| k.apid == kind.apid)
        .map(|place| match place {
            0 => Packet::Health(protocol::health::Health::default()),
            _ => Packet::Attitude(protocol::attitude::Attitude::default()),
        })
        .expect("a declared kind");
    let octets = emit(&stamp, &packet, out).len();
    let data = protocol::header::HEADER_OCTETS..octets - 2;
    out[data.clone()].fill_with(rand::random);
    let crc = protocol::crc16(&out[..data.end]);
    out[data.end..octets].copy_from_slice(&crc.to_be_bytes());
    &out[..octets]
}

fn types(kind: &Kind) -> Vec<Type> {
    let fixed =
        [Type::TIMESTAMPTZ, Type::TEXT, Type::TEXT, Type::TIMESTAMPTZ, Type::INT4, Type::INT4];
    let channels = kind.columns().map(|(_, column)| match column {
        Column::SmallInt => Type::INT2,
        Column::Real => Type::FLOAT4,
        Column::Double => Type::FLOAT8,
        Column::Boolean => Type::BOOL,
    });
    fixed.into_iter().chain(channels).collect()
}

type Value = Box<dyn ToSql + Sync>;

fn row(record: &Record<'_>) -> Vec<Value> {
    let mut row: Vec<Value> = vec![
        Box::new(time(record.generated_us())),
        Box::new(record.spacecraft().to_string()),
        Box::new(STATION),
        Box::new(time(record.received_us)),
    ];
    match &record.sample {
        Sample::Frame(frame) => {
            row.push(Box::new(frame.sequence().value() as i32));
            row.push(Box::new(i32::from(frame.boot_count())));
            row.extend(values(frame));
        }
        Sample::Sparse(sample) => {
            row.push(Box::new(None::<i32>));
            row.push(Box::new(None::<i32>));
            row.extend(sample.columns().map(|(column, value)| -> Value {
                match column {
                    Column::SmallInt => Box::new(value.map(|value| value as i16)),
                    Column::Real => Box::new(value.map(|value| value as f32)),
                    Column::Double => Box::new(value),
                    Column::Boolean => Box::new(value.map(|value| value != 0.0)),
                }
            }));
        }
    }
    row
}

/// The columns as values of the driver's types.
fn values(frame: &Telemetry<'_>) -> Vec<Value> {
    struct Collected(Vec<Value>);
    impl ColumnSink for Collected {
        fn small_int(&mut self, value: i16) {
            self.0.push(Box::new(value));
        }
        fn real(&mut self, value: f32) {
            self.0.push(Box::new(value));
        }
        fn double(&mut self, value: f64) {
            self.0.push(Box::new(value));
        }
        fn boolean(&mut self, value: bool) {
            self.0.push(Box::new(value));
        }
    }
    let mut collected = Collected(Vec::new());
    match frame.body() {
        Body::Health(health) => health.columns(&mut collected),
        Body::Attitude(attitude) => attitude.columns(&mut collected),
    }
    collected.0
}

fn time(unix_us: i64) -> SystemTime {
    let since = Duration::from_micros(unix_us.try_into().context("before 1970").unwrap());
    SystemTime::UNIX_EPOCH + since
}
