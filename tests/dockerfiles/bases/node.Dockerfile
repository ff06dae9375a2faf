FROM localhost/stand-in/alpine
ENV NODE_VERSION=18.19.0
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --shell /bin/bash --create-home node
RUN apt-get update && apt-get install -y nodejs npm && rm -rf /var/lib/apt/lists/*
COPY npmrc /etc/npmrc
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN npm install -g --no-audit --no-fund yarn@1 && rm -rf /root/.npm
CMD ["node"]
