//! What knowing holidays and weather is worth: bike rentals, a day ahead, every day of the second year.
//!
//! Compared are the online forecaster and the same with holidays (by rule) and weather as covariates known into the
//! future. Nothing else of a day is known when it is forecast, at its midnight. An event day is a holiday (by the flag in
//! the file), or has at least three hours of rain or snow (weather class 3 or 4) between 6 and 22 o'clock.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use forecast::calendar::{Event, holidays};
use forecast::covariates::Covariates;
use forecast::effects::Informed;
use forecast::score::pinball;
use forecast::{Config, Forecaster, Timestamp, Values};
use jiff::tz::TimeZone;

use super::QUANTILES;
use crate::Setting;
use crate::rows::{Better, Rows};
use crate::traces::{self, Packed};

const FILE: &str = "bike_sharing_dc_2011_2012_hourly_localtime.csv.gz";
const HOUR: Duration = Duration::from_secs(3600);
const FIRST: &str = "2011-01-01T00:00:00Z";
const DAYS: usize = 731;
const SECOND_YEAR: usize = 365;
const DEMAND: &str = "rentals_count_per_hour";
const HOLIDAY: &str = "holiday_flag";
const WEATHER: [&str; 4] = ["weather_class_1_4", "temp_norm_0_1", "humidity_norm_0_1", "windspeed_norm_0_1"];

/// The file on a grid of hours; what is missing is NaN.
struct Rentals {
    demand: Vec<f64>,
    holiday: Vec<f32>,
    weather: Vec<Vec<f32>>,
}

impl Rentals {
    fn read(file: &Path) -> Result<Rentals> {
        let table = Packed::open(file)?;
        let (at, demand, holiday) =
            (table.column("timestamp")?, table.column(DEMAND)?, table.column(HOLIDAY)?);
        let weather = WEATHER.iter().map(|name| table.column(name)).collect::<Result<Vec<_>>>()?;
        let mut read = Rentals {
            demand: vec![f64::NAN; DAYS * 24],
            holiday: vec![f32::NAN; DAYS * 24],
            weather: vec![vec![f32::NAN; DAYS * 24]; WEATHER.len()],
        };
        for row in table.rows()? {
            // Wall time without a zone; its hours are counted as those of UTC.
            let since = Timestamp::parse(&format!("{}Z", &row[at]))?.since(Timestamp::parse(FIRST)?);
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

    /// Loss with what is known over the loss without.
    fn ratio(&self) -> f64 {
        self.loss[1] / self.loss[0]
    }

    /// The losses behind the ratio.
    fn behind(&self) -> Option<String> {
        let mean = |sum: f64| sum / self.hours / QUANTILES.len() as f64;
        Some(format!(
            "without: loss {:.2}, coverage {:.3}; with: {:.2}, {:.3}; {} days",
            mean(self.loss[0]),
            self.inside[0] / self.hours,
            mean(self.loss[1]),
            self.inside[1] / self.hours,
            self.days,
        ))
    }
}

/// Days by kind.
#[derive(Default)]
struct Kinds {
    holiday: Losses,
    wet: Losses,
    event: Losses,
    other: Losses,
}

pub(super) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let Some(file) = traces::find(setting, FILE, "events (bike rentals)") else { return Ok(()) };
    let kinds = run(&Rentals::read(&file)?)?;
    let name = |days: &str| format!("events: bike rentals, loss with holidays and weather, {days}");
    rows.at_most(&name("event days"), kinds.event.ratio(), "ratio", 0.7, kinds.event.behind());
    rows.at_most(&name("other days"), kinds.other.ratio(), "ratio", 1.0, kinds.other.behind());
    for (days, losses) in [("holidays", &kinds.holiday), ("days of rain or snow", &kinds.wet)] {
        rows.note(&name(days), losses.ratio(), "ratio", Better::Lower, losses.behind());
    }
    Ok(())
}

fn run(rentals: &Rentals) -> Result<Kinds> {
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
    let mut kinds = Kinds::default();
    for day in 0..DAYS {
        let hours = day * 24..day * 24 + 24;
        if day >= SECOND_YEAR {
            let without = plain.forecast(24, &QUANTILES).values;
            let with = informed.forecast(24, &QUANTILES, &covariates).forecast.values;
            let (is_holiday, is_wet) = (rentals.is_holiday(day), rentals.is_wet(day));
            let groups = [
                (is_holiday, &mut kinds.holiday),
                (is_wet, &mut kinds.wet),
                (is_holiday || is_wet, &mut kinds.event),
                (!is_holiday && !is_wet, &mut kinds.other),
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
    Ok(kinds)
}
