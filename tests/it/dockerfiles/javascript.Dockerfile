FROM localhost/base:1 AS runtime
RUN mkdir -p /usr/local/bin && printf '#!/bin/sh\nmkdir -p modules && echo "$@" > modules/list\n' > /usr/local/bin/pm && chmod +x /usr/local/bin/pm

FROM runtime AS deps
WORKDIR /usr/src/app
COPY package*.json ./
RUN pm install --production

FROM runtime
ENV NODE_ENV=production
WORKDIR /usr/src/app
COPY --from=deps /usr/src/app/modules ./modules
COPY app .
USER 1000
EXPOSE 3000
CMD pm start
