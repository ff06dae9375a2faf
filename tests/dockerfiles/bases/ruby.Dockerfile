FROM localhost/stand-in/alpine
RUN apt-get update && apt-get install -y ruby && rm -rf /var/lib/apt/lists/*
ENV LANG=C.UTF-8 GEM_HOME=/usr/local/bundle BUNDLE_SILENCE_ROOT_WARNING=1
CMD ["irb"]
