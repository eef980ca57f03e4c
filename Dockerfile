# One gateway: docker run -v ./gateway.yaml:/etc/mtm-gateway.yaml mtm-gateway serve --config /etc/mtm-gateway.yaml
# Every setting can also be a variable (config/README.md); then no file is needed.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY config ./config
COPY src ./src
RUN npm run build

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The optional packages are the embedded servers and Node.js itself: not needed here.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund && npm cache clean --force

FROM node:24-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production \
    MTM_LISTEN_HOST=0.0.0.0 \
    MTM_PEER_LISTEN_HOST=0.0.0.0 \
    MTM_HTTP_HOST=0.0.0.0
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
USER node
EXPOSE 7001 7201 7301
# The process answers; whether the node takes part in the cluster is /ready. Uses MTM_HTTP_PORT, not the file.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.MTM_HTTP_PORT ?? 7201}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Next to nothing of what a gateway allocates lives long: a large new space is only memory.
ENTRYPOINT ["node", "--max-semi-space-size=2", "/app/dist/main.js"]
CMD ["serve"]
