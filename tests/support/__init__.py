"""S3 servers, a proxy that injects faults, and worker processes for the tests."""
