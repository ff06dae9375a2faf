FROM localhost/stand-in/alpine
RUN apt-get update && apt-get install -y default-jdk-headless && rm -rf /var/lib/apt/lists/*
ENV JAVA_HOME=/usr/lib/jvm/default-java LANG=C.UTF-8
CMD ["jshell"]
