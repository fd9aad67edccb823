import type { ConnectionOptions } from 'node:tls'
import { KinesisClient, type KinesisClientConfig } from '@aws-sdk/client-kinesis'
import type { NodeHttpHandlerOptions } from '@smithy/node-http-handler'
import { Http2Handler } from './http2-handler.ts'
import { isHandler, withoutUndefined } from './kinesis-client.ts'
import { readSubscriptionEvents } from './subscription-events.ts'

/**
 * The client that Shardwise makes for SubscribeToShard, whose answers the service gives over HTTP/2 only. Hundreds of
 * subscriptions share a few connections, and one that nobody reads stands still without holding up others. One attempt: when
 * to subscribe again is up to who subscribes. `destroy()` ends all subscriptions.
 *
 * @param config region, endpoint, credentials and so on, as for the SDK's client. A `requestHandler` that is a handler itself is used
 *   as it is; of the settings of one, what `httpsAgent` says of TLS is taken over
 */
export function createFanOutClient(config: KinesisClientConfig = {}): KinesisClient {
  const { requestHandler, ...given } = withoutUndefined(config)
  const client = new KinesisClient({
    ...given,
    maxAttempts: 1,
    requestHandler: isHandler(requestHandler)
      ? requestHandler
      : new Http2Handler({ tls: tlsOf(requestHandler as NodeHttpHandlerOptions | undefined) }),
  })
  if (config.protocol === undefined) readSubscriptionEvents(client)
  return client
}

function tlsOf(settings: NodeHttpHandlerOptions | undefined): ConnectionOptions {
  const agent = Object(settings?.httpsAgent) as ConnectionOptions & { readonly options?: ConnectionOptions }
  const { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername, checkServerIdentity } = agent.options ?? agent
  return withoutUndefined({ ca, cert, key, pfx, passphrase, rejectUnauthorized, servername, checkServerIdentity })
}
