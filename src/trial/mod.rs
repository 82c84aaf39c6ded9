//! What the gate would say, without a gateway running: [`court`] asks it, [`walk`] tells [`step`] by step what decided, [`advice`]
//! what would have to change, and [`replay`] asks it about past requests.
//!
//! Nothing here knows a rule of its own: the gate is made by the workshop that makes the running one, and asked as that is.

pub mod advice;
pub mod court;
mod hidden;
pub mod replay;
pub mod shape;
pub mod step;
pub mod walk;
