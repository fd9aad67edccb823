import { Agent } from 'node:https'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { expect, test } from 'vitest'
import { createKinesisClient } from './kinesis-client.ts'

test('the client tries once, over HTTP/1.1, and what the caller sets wins', async () => {
  const client = createKinesisClient({ region: 'eu-west-1' })
  expect(await client.config.maxAttempts()).toBe(1)
  expect(client.config.requestHandler).toBeInstanceOf(NodeHttpHandler)
  expect(client.config.requestHandler.metadata?.handlerProtocol).toBe('http/1.1')
  expect(await createKinesisClient({ region: 'eu-west-1', maxAttempts: 2 }).config.maxAttempts()).toBe(2)
  client.destroy()
})

test('settings of a handler are taken over, a handler is used as it is, and undefined counts as not given', async () => {
  const agent = new Agent({ keepAlive: true })
  const given = { region: 'eu-west-1', requestHandler: { httpsAgent: agent }, maxAttempts: undefined }
  const tuned = createKinesisClient(given as object)
  expect(await tuned.config.maxAttempts()).toBe(1)
  expect(tuned.config.requestHandler).toBeInstanceOf(NodeHttpHandler)
  const handler = new NodeHttpHandler()
  expect(createKinesisClient({ region: 'eu-west-1', requestHandler: handler }).config.requestHandler).toBe(handler)
  tuned.destroy()
})
