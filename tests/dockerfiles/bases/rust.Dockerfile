FROM localhost/stand-in/debian
RUN apt-get update && apt-get install -y cargo-web rustc-web gcc libc6-dev pkg-config libssl-dev && rm -rf /var/lib/apt/lists/*
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["bash"]
