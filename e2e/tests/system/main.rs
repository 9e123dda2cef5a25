//! The whole system on real servers, as a user meets it.

#[cfg(test)]
mod adoption;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod away;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod brakes;
#[cfg(test)]
mod bulk;
#[cfg(test)]
mod bulk_stream;
#[cfg(test)]
mod bulk_waits;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod cross_origin;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod dead;
#[cfg(test)]
mod dead_crash;
#[cfg(test)]
mod every_type;
#[cfg(test)]
mod fail_points;
#[cfg(test)]
mod fates;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod front_bounds;
#[cfg(test)]
mod group;
#[cfg(test)]
mod group_lag;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod journey;
#[cfg(test)]
mod kafka_errors;
#[cfg(test)]
mod late;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod losses;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod min_version;
#[cfg(test)]
mod mysql_errors;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod order;
#[cfg(test)]
mod overtaken;
#[cfg(test)]
mod owed;
#[cfg(test)]
mod patch;
#[cfg(test)]
mod promql;
#[cfg(test)]
mod publisher;
#[cfg(test)]
mod purge;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod reads_many;
#[cfg(test)]
mod redis_errors;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod replay_poison;
#[cfg(test)]
mod request_ids;
#[cfg(test)]
mod scraped;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod stop_under_load;
#[cfg(test)]
mod store_bounds;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod uncovered;
#[cfg(test)]
mod unread;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod wire;
