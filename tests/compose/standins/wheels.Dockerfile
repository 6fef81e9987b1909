# The base image with wheels that lie on this machine. Context: their folder.
FROM python:3.11-slim-bookworm
COPY *.whl /opt/wheels/
