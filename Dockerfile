# The site: one image for the web server, the workers, beat and all management commands.
FROM python:3.13-slim-bookworm

# Without the threshold, glibc keeps the memory that threads used for large responses: with eight responses of 8 MiB, a
# process uses 670 MiB instead of 232 MiB.
ENV PYTHONUNBUFFERED=1 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# Before the code, so that a change of the code does not reinstall the dependencies. Only wheels: the image has no
# compiler.
COPY requirements/site.txt requirements/
RUN pip install --no-deps --require-hashes --only-binary=:all: -r requirements/site.txt && pip check

COPY manage.py ./
COPY config/ config/
COPY core/ core/
COPY package/ package/

# Django needs a key to start, but collectstatic does not use it. The real key is set when the image runs.
RUN SECRET_KEY=only-to-collect-static-files python manage.py collectstatic --noinput \
    && chmod --recursive a+rX . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin site

# root owns the code, so the site cannot modify it. The volume "metrics" in compose.yaml has the same uid.
USER site

EXPOSE 8000

# /dev/shm: gunicorn's heartbeat must not wait for a disk. Threads: a view that waits for other servers (at most ten
# seconds) blocks only one thread. No control socket: the user has no home directory for it. WEB_CONCURRENCY sets the
# number of processes.
CMD ["gunicorn", "config.wsgi", "--bind=0.0.0.0:8000", "--threads=4", "--worker-tmp-dir=/dev/shm", "--no-control-socket"]
