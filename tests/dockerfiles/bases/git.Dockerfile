FROM localhost/stand-in/alpine
RUN apt-get update && apt-get install -y git openssh-client && rm -rf /var/lib/apt/lists/*
CMD ["git"]
