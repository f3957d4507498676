// A certified OpenID Connect provider with one client, for tests. It reads its settings from standard input and
// says so when it listens. Any name logs in there, and is the subject.
import Provider from 'oidc-provider';
import { readFileSync } from 'node:fs';

const { port, client_id, client_secret, redirect_uri } = JSON.parse(readFileSync(0, 'utf8'));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect_uri], grant_types: ['authorization_code'] }],
  claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'] },
  scopes: ['openid', 'profile', 'email'],
  pkce: { required: () => true },
  cookies: { keys: [client_secret] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: `${id} of the institute`, email: `${id}@institute.example` }),
  }),
});

provider.listen(port, '127.0.0.1', () => console.log('listening'));
