FROM localhost/stand-in/debian
RUN apt-get update && apt-get install -y gcc g++ make libc6-dev && rm -rf /var/lib/apt/lists/*
CMD ["bash"]
