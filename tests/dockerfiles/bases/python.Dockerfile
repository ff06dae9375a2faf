FROM localhost/stand-in/alpine
ENV LANG=C.UTF-8 PYTHON_VERSION=3.11.2
RUN apt-get update && apt-get install -y python3 python3-pip python3-venv python3-setuptools python3-wheel && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/pip3 /usr/local/bin/pip
COPY pip.conf /etc/pip.conf
CMD ["python3"]
