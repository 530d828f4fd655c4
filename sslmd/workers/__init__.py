"""The job queue, and one file per kind of job."""
