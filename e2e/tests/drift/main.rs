//! The documents and the manifests say what is true: every path that a page names exists, dependencies go one way, only one
//! crate speaks to each store, no code knows an entity; dashboard and alerts have their form.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod house;
