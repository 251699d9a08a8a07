//! Measures what knowing holidays and weather is worth: bike rentals, a day ahead, every day of the second year.
//!
//! `cargo run --release -p forecast --example events -- bike_sharing_dc_2011_2012_hourly_localtime.csv.gz`
//!
//! Compared are the online forecaster and the same with holidays (by rule) and weather as covariates known into the
//! future. Nothing else of a day is known when it is forecast, at its midnight. An event day is a holiday (by the flag in
//! the file), or has at least three hours of rain or snow (weather class 3 or 4) between 6 and 22 o'clock.

use std::error::Error;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::calendar::{Event, holidays};
use forecast::covariates::Covariates;
use forecast::effects::Informed;
use forecast::score::pinball;
use forecast::{Config, Forecaster, Timestamp, Values};
use jiff::tz::TimeZone;

const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];
const HOUR: Duration = Duration::from_secs(3600);
const FIRST: &str = "2011-01-01T00:00:00Z";
const DAYS: usize = 731;
const DEMAND: &str = "rentals_count_per_hour";
const HOLIDAY: &str = "holiday_flag";
const WEATHER: [&str; 4] = ["weather_class_1_4", "temp_norm_0_1", "humidity_norm_0_1", "windspeed_norm_0_1"];

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: events bike_sharing_dc_2011_2012_hourly_localtime.csv.gz");
        return ExitCode::from(2);
    };
    match Rentals::read(&path).and_then(|rentals| measure(&rentals)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to measure {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The file on a grid of hours; what is missing is NaN.
struct Rentals {
    demand: Vec<f64>,
    holiday: Vec<f32>,
    weather: Vec<Vec<f32>>,
}

impl Rentals {
    fn read(path: &str) -> Result<Rentals, Box<dyn Error>> {
        let mut rows = csv::Reader::from_reader(MultiGzDecoder::new(File::open(path)?));
        let header = rows.headers()?.clone();
        let place =
            |name: &str| header.iter().position(|known| known == name).ok_or(format!("no column {name}"));
        let (demand, holiday) = (place(DEMAND)?, place(HOLIDAY)?);
        let weather = WEATHER.iter().map(|name| place(name)).collect::<Result<Vec<_>, _>>()?;
        let mut read = Rentals {
            demand: vec![f64::NAN; DAYS * 24],
            holiday: vec![f32::NAN; DAYS * 24],
            weather: vec![vec![f32::NAN; DAYS * 24]; WEATHER.len()],
        };
        for row in rows.records() {
            let row = row?;
            // Wall time without a zone; its hours are counted as those of UTC.
            let since = at(&row[0])?.since(Timestamp::parse(FIRST)?);
            let hour = (since.as_secs() / 3600) as usize;
            if hour < DAYS * 24 {
                read.demand[hour] = row[demand].parse()?;
                read.holiday[hour] = row[holiday].parse()?;
                for (column, &place) in read.weather.iter_mut().zip(&weather) {
                    column[hour] = row[place].parse()?;
                }
            }
        }
        Ok(read)
    }

    fn is_holiday(&self, day: usize) -> bool {
        self.holiday[day * 24..day * 24 + 24].contains(&1.0)
    }

    fn is_wet(&self, day: usize) -> bool {
        (day * 24 + 6..day * 24 + 22).filter(|&hour| self.weather[0][hour] >= 3.0).count() >= 3
    }
}

fn at(text: &str) -> Result<Timestamp, Box<dyn Error>> {
    Ok(Timestamp::parse(&format!("{text}Z"))?)
}

/// Losses of some days, without and with what is known.
#[derive(Default)]
struct Losses {
    days: usize,
    hours: f64,
    loss: [f64; 2],
    inside: [f64; 2],
}

impl Losses {
    fn add(&mut self, demand: &[f64], said: [&Values; 2]) {
        self.days += 1;
        for (hour, &real) in demand.iter().enumerate().filter(|(_, real)| real.is_finite()) {
            self.hours += 1.0;
            for (which, values) in said.iter().enumerate() {
                let row = &values[hour];
                self.loss[which] +=
                    QUANTILES.iter().zip(row).map(|(&tau, &said)| pinball(tau, real, said)).sum::<f64>();
                self.inside[which] += f64::from(u8::from((row[0]..=row[3]).contains(&real)));
            }
        }
    }

    fn print(&self, name: &str) {
        let mean = |sum: f64| sum / self.hours / QUANTILES.len() as f64;
        println!(
            "{name:14} {:4} days  loss {:6.2} -> {:6.2}  ratio {:.3}  coverage of 90 % {:.3} -> {:.3}",
            self.days,
            mean(self.loss[0]),
            mean(self.loss[1]),
            self.loss[1] / self.loss[0],
            self.inside[0] / self.hours,
            self.inside[1] / self.hours,
        );
    }
}

fn measure(rentals: &Rentals) -> Result<(), Box<dyn Error>> {
    let origin = Timestamp::parse(FIRST)?;
    let config = Config { time_zone: Some(TimeZone::UTC), horizon_max: 24 * HOUR, ..Config::new(HOUR) };
    let events: Vec<Event> =
        holidays("US-DC", 2011..=2012)?.iter().filter_map(|holiday| holiday.event(None)).collect();
    let mut covariates = Covariates::beginning(0);
    for (name, values) in WEATHER.iter().zip(&rentals.weather) {
        covariates.add(name, values.clone())?;
    }
    let mut plain = Forecaster::new(config.clone())?;
    let mut informed = Informed::new(config, origin, covariates.names())?;
    informed.announce(&events);
    let [mut holiday, mut wet, mut event, mut other, mut all]: [Losses; 5] = Default::default();
    for day in 0..DAYS {
        let hours = day * 24..day * 24 + 24;
        if day >= 365 {
            let without = plain.forecast(24, &QUANTILES).values;
            let with = informed.forecast(24, &QUANTILES, &covariates).forecast.values;
            let (is_holiday, is_wet) = (rentals.is_holiday(day), rentals.is_wet(day));
            let groups = [
                (is_holiday, &mut holiday),
                (is_wet, &mut wet),
                (is_holiday || is_wet, &mut event),
                (!is_holiday && !is_wet, &mut other),
                (true, &mut all),
            ];
            for (_, losses) in groups.into_iter().filter(|(belongs, _)| *belongs) {
                losses.add(&rentals.demand[hours.clone()], [&without, &with]);
            }
        }
        for hour in hours {
            let begins = origin + HOUR * hour as u32;
            plain.observe(begins, Some(rentals.demand[hour]))?;
            informed.observe(begins, Some(rentals.demand[hour]), &covariates)?;
        }
    }
    for (name, losses) in [
        ("holidays", &holiday),
        ("bad weather", &wet),
        ("event days", &event),
        ("other days", &other),
        ("all", &all),
    ] {
        losses.print(name);
    }
    println!("\nlearned effects (factor on a working day, 90 % interval of the next time, seen):");
    for effect in informed.effects() {
        println!(
            "{:44} {:5.2}  ({:.2} to {:.2})  {:?}",
            effect.name, effect.factor, effect.low, effect.high, effect.seen
        );
    }
    Ok(())
}
