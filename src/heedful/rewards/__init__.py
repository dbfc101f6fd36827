"""Data becomes a judge: reward models fitted to what people preferred and flagged, and their report cards."""
