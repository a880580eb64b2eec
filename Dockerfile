# The site: one image for web, workers, beat and every management command.
FROM python:3.13-slim-bookworm

# Without the threshold, glibc keeps what a thread used for a large answer: 600 MiB after eight of 8 MiB, instead of 230.
ENV PYTHONUNBUFFERED=1 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# Before the code, so that a change of the code does not install everything anew. Only wheels: nothing is compiled here.
COPY requirements/site.txt requirements/
RUN pip install --no-deps --require-hashes --only-binary=:all: -r requirements/site.txt && pip check

COPY manage.py ./
COPY config/ config/
COPY core/ core/
COPY package/ package/

# The key is needed to start Django, and used for nothing: whoever runs the image gives it one.
RUN SECRET_KEY=only-to-collect-static-files python manage.py collectstatic --noinput \
    && chmod --recursive a+rX . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin site

# The code belongs to root: the site cannot change itself. compose.yaml knows the number too.
USER site

EXPOSE 8000

# /dev/shm: gunicorn's heartbeat must not wait for a disk. Threads: a view that waits for another server (five seconds at
# most) holds up one of them, not all. No control socket: there is no home to put it in. How many processes: WEB_CONCURRENCY.
CMD ["gunicorn", "config.wsgi", "--bind=0.0.0.0:8000", "--threads=4", "--worker-tmp-dir=/dev/shm", "--no-control-socket"]
