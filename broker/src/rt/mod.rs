//! The runtime seam: what the data plane may ask of a runtime. The only folder that names glommio.
