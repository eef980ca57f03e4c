# One gateway, as an image of Node.js, its C libraries and the program: no shell, no package manager, not root.
# docker build -t mtm-gateway . && docker run -v ./gateway.yaml:/etc/mtm-gateway.yaml:ro mtm-gateway serve --config /etc/mtm-gateway.yaml
# Every setting can also be a variable (config/README.md); then no file is needed. config/compose.yaml runs whole clusters.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY config/tool/without-optional.cjs ./config/tool/
# The optional packages are the embedded servers and Node.js itself: not needed here.
RUN node config/tool/without-optional.cjs && npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY config/tool ./config/tool
COPY src ./src
RUN node config/tool/build.ts && find dist -name '*.map' -delete && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

# What the program needs of the system, under /image.
FROM ${NODE_IMAGE} AS system
COPY config/tool/image.sh /
RUN sh /image.sh /image

FROM scratch
COPY --from=system /image /
COPY --from=build /app/package.json /app/
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
WORKDIR /app
ENV NODE_ENV=production \
    PATH=/usr/local/bin:/usr/bin \
    MTM_LISTEN_HOST=0.0.0.0 \
    MTM_PEER_LISTEN_HOST=0.0.0.0 \
    MTM_HTTP_HOST=0.0.0.0
USER 1000:1000
EXPOSE 7001 7201 7301
# The process answers; whether the node takes part in the cluster is /ready. Uses MTM_HTTP_PORT, not the file.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.MTM_HTTP_PORT ?? 7201}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
# Next to nothing of what a gateway allocates lives long: a large new space is only memory.
ENTRYPOINT ["node", "--max-semi-space-size=2", "/app/dist/main.js"]
CMD ["serve"]
