import { Agent } from 'node:https'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { expect, test } from 'vitest'
import { createFanOutClient } from './fan-out-client.ts'
import { Http2Handler } from './http2-handler.ts'

test('the client tries once, over HTTP/2, whatever else is set, and undefined counts as not given', async () => {
  const given = { region: 'eu-west-1', maxAttempts: 5, endpoint: undefined, requestHandler: undefined }
  const client = createFanOutClient(given as object)
  expect(await client.config.maxAttempts()).toBe(1)
  expect(await client.config.region()).toBe('eu-west-1')
  expect(client.config.requestHandler).toBeInstanceOf(Http2Handler)
  expect(client.config.requestHandler.metadata?.handlerProtocol).toBe('h2')
  client.destroy()
})

test('a handler is used as it is, settings of one are not', () => {
  const handler = new NodeHttpHandler()
  expect(createFanOutClient({ region: 'eu-west-1', requestHandler: handler }).config.requestHandler).toBe(handler)
  const requestHandler = { requestTimeout: 1, httpsAgent: new Agent({ ca: 'trusted' }) }
  expect(createFanOutClient({ region: 'eu-west-1', requestHandler }).config.requestHandler).toBeInstanceOf(Http2Handler)
})
